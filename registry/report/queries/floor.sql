-- What an update from the image :from to the image :to has to bring at least, where nodes keep files by content: contents that are
-- visible in :to and in no layer of :from. `compressed` is in proportion to how the blob of each file's layer is compressed.
WITH had AS (
  SELECT DISTINCT e.file_id
  FROM images i
  JOIN image_layers il ON il.image_id = i.image_id
  JOIN held e ON e.layer_id = il.layer_id
  WHERE i.digest = :from AND e.file_id IS NOT NULL
),
new AS (
  SELECT v.file_id, max(v.size) AS size, min(v.layer_id) AS layer_id
  FROM visible v
  JOIN images i ON i.image_id = v.image_id
  LEFT JOIN had h ON h.file_id = v.file_id
  WHERE i.digest = :to AND v.file_id IS NOT NULL AND h.file_id IS NULL
  GROUP BY v.file_id
)
SELECT count(*) AS contents, coalesce(sum(n.size), 0) AS bytes, coalesce(round(sum(n.size * r.ratio)), 0) AS compressed
FROM new n
JOIN ratios r ON r.layer_id = n.layer_id
