-- Each content that layers store as files: how often, and its size. A hard link stores nothing.
SELECT file_id, count(*) AS copies, max(size) AS size
FROM entries
WHERE kind = 'file'
GROUP BY file_id
