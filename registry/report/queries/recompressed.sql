-- Layers that lie under several digests: the same tar, compressed in several ways.
SELECT il.diff_id, b.digest, b.size, b.media_type
FROM (SELECT DISTINCT diff_id, digest FROM image_layers) il
JOIN blobs b ON b.digest = il.digest
JOIN (
  SELECT diff_id FROM image_layers GROUP BY diff_id HAVING count(DISTINCT digest) > 1
) twice ON twice.diff_id = il.diff_id
ORDER BY il.diff_id, b.digest
