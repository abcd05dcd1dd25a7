-- Where the contents of repositories lie that have an image in `chosen`: `held` is the sum of the ids of those layers of the repository
-- that have the content. Contents with one sum lie in the same layers, since ids are 63 bits of digests.
WITH members AS (
  SELECT DISTINCT s.series, il.layer_id
  FROM (SELECT DISTINCT own.series FROM series own JOIN chosen c ON c.image_id = own.image_id) w
  JOIN series s ON s.series = w.series
  JOIN image_layers il ON il.image_id = s.image_id
)
SELECT series, file_id, sum(cast(layer_id AS DECIMAL(38, 0))) AS held
FROM (
  SELECT DISTINCT m.series, e.layer_id, e.file_id
  FROM members m
  JOIN entries e ON e.layer_id = m.layer_id
  WHERE e.file_id IS NOT NULL
) places
GROUP BY series, file_id
