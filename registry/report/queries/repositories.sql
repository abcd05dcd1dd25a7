-- Files by repository: bytes over its layers, each content once, and what no other repository has.
WITH used AS (
  SELECT DISTINCT t.repository, il.layer_id
  FROM tags t
  JOIN image_layers il ON il.image_id = t.image_id
),
contents AS (
  SELECT u.repository, e.file_id, e.size, count(*) AS copies
  FROM used u
  JOIN entries e ON e.layer_id = u.layer_id
  WHERE e.kind = 'file'
  GROUP BY u.repository, e.file_id, e.size
),
spread AS (
  SELECT file_id, size, min(repository) AS one, max(repository) AS other FROM contents GROUP BY file_id, size
)
SELECT c.repository, sum(c.copies) AS files, sum(c.copies * c.size) AS bytes, count(*) AS contents, sum(c.size) AS content_bytes,
  sum(CASE WHEN s.one = s.other THEN c.size ELSE 0 END) AS own_bytes
FROM contents c
JOIN spread s ON s.file_id = c.file_id AND s.size = c.size
GROUP BY c.repository
ORDER BY c.repository
