-- The layers of each class of contents that `floors` tells of: all of its contents lie in all of these layers, and in no other of the
-- repository's.
WITH one AS (
  SELECT series, held, min(file_id) AS file_id, count(*) AS contents FROM classed GROUP BY series, held
),
places AS (
  SELECT DISTINCT o.series, o.held, o.contents, e.layer_id
  FROM one o
  JOIN entries e ON e.file_id = o.file_id
)
SELECT p.series, cast(p.held AS STRING) AS class, p.contents, l.diff_id
FROM places p
JOIN layers l ON l.layer_id = p.layer_id
JOIN (SELECT DISTINCT s.series, il.layer_id FROM series s JOIN image_layers il ON il.image_id = s.image_id) m
  ON m.series = p.series AND m.layer_id = p.layer_id
ORDER BY series, class, diff_id
