-- Blobs that hold the layers of images, each once.
SELECT b.digest, i.layer_id, min(b.size) AS size, min(b.media_type) AS media_type
FROM named_blobs b
JOIN (SELECT DISTINCT digest, layer_id FROM image_layers) i ON i.digest = b.digest
GROUP BY b.digest, i.layer_id
