-- How many contents there are so many times, and what they come to.
WITH contents AS (
  SELECT count(*) AS copies, max(size) AS size
  FROM entries
  WHERE kind = 'file'
  GROUP BY file_id
)
SELECT copies, count(*) AS contents, sum(size) AS bytes, sum((copies - 1) * size) AS wasted
FROM contents
GROUP BY copies
ORDER BY copies
