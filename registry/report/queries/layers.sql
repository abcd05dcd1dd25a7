-- For each layer: bytes of its files, and of those whose content no other layer has ("freed if the layer goes", uncompressed).
WITH contents AS (
  SELECT file_id, size, min(layer_id) AS first_layer, max(layer_id) AS last_layer
  FROM entries
  WHERE kind = 'file'
  GROUP BY file_id, size
),
own AS (
  SELECT first_layer AS layer_id, count(*) AS contents, sum(size) AS bytes
  FROM contents
  WHERE first_layer = last_layer
  GROUP BY first_layer
),
whole AS (
  SELECT layer_id, count(*) AS files, sum(size) AS bytes
  FROM entries
  WHERE kind = 'file'
  GROUP BY layer_id
)
SELECT l.diff_id, coalesce(w.files, 0) AS files, coalesce(w.bytes, 0) AS bytes,
  coalesce(o.contents, 0) AS unique_contents, coalesce(o.bytes, 0) AS unique_bytes
FROM layers l
LEFT JOIN whole w ON w.layer_id = l.layer_id
LEFT JOIN own o ON o.layer_id = l.layer_id
ORDER BY unique_bytes DESC, l.diff_id
LIMIT :limit
