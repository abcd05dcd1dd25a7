-- Which repositories images belong to; `series` stands for a repository and is the least id of its images, so that nothing heavier is
-- grouped by its name. Repositories that begin with the same image may be one series: figures that rest on layers are the same.
SELECT DISTINCT t.repository, o.series, t.image_id
FROM tags t
JOIN (SELECT repository, min(image_id) AS series FROM tags GROUP BY repository) o ON o.repository = t.repository
