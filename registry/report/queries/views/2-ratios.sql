-- How far each layer is compressed: stored bytes, of its smallest blob, for a byte of its tar. Where only its table of contents was read,
-- the tar's size is what its entries come to: a header each, and content in blocks of 512 bytes.
SELECT l.layer_id, l.diff_id, cast(s.size AS DOUBLE) / coalesce(l.uncompressed, t.bytes) AS ratio
FROM layers l
JOIN (SELECT layer_id, min(size) AS size FROM blobs GROUP BY layer_id) s ON s.layer_id = l.layer_id
LEFT JOIN (
  SELECT e.layer_id, sum(512 + CASE WHEN e.kind = 'file' THEN 512 * ceil(e.size / 512.0) ELSE 0 END) AS bytes
  FROM (SELECT layer_id FROM layers WHERE uncompressed IS NULL) u
  JOIN entries e ON e.layer_id = u.layer_id
  GROUP BY e.layer_id
) t ON t.layer_id = l.layer_id
WHERE coalesce(l.uncompressed, t.bytes) > 0
