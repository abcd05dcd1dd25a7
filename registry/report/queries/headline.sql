-- What the layers hold: files as they are stored, and each content once. A hard link stores nothing. `content_compressed` is in proportion
-- to how the blob of one of the content's layers is compressed.
WITH placed AS (
  SELECT size, count(*) AS copies, min(layer_id) AS layer_id
  FROM entries
  WHERE kind = 'file'
  GROUP BY file_id, size
),
shares AS (
  SELECT layer_id, sum(copies) AS files, sum(copies * size) AS bytes, count(*) AS contents, sum(size) AS content_bytes
  FROM placed
  GROUP BY layer_id
)
SELECT coalesce(sum(h.files), 0) AS files, sum(h.bytes) AS bytes,
  (SELECT count(*) FROM (SELECT DISTINCT layer_id FROM entries WHERE kind = 'file') d) AS layers,
  coalesce(sum(h.contents), 0) AS contents, sum(h.content_bytes) AS content_bytes,
  round(sum(h.content_bytes * r.ratio)) AS content_compressed
FROM shares h
JOIN ratios r ON r.layer_id = h.layer_id
