-- Paths whose content differs most often from image to image of a repository, with the bytes of all their versions: what makes updates
-- large. Paths with one content are none.
WITH used AS (
  SELECT DISTINCT t.repository, il.layer_id
  FROM tags t
  JOIN image_layers il ON il.image_id = t.image_id
),
versions AS (
  SELECT DISTINCT u.repository, e.path_id, e.file_id, e.size
  FROM used u
  JOIN entries e ON e.layer_id = u.layer_id
  WHERE e.kind = 'file'
),
worst AS (
  SELECT repository, path_id, count(*) AS versions, sum(size) AS bytes
  FROM versions
  GROUP BY repository, path_id
  HAVING count(*) > 1
  ORDER BY bytes DESC, repository, path_id
  LIMIT :limit
)
SELECT DISTINCT w.repository, p.path, w.versions, w.bytes
FROM worst w
JOIN paths p ON p.path_id = w.path_id
ORDER BY w.bytes DESC, w.repository, p.path
