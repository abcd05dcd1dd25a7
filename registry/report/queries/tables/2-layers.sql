-- Layers that count: those whose diffID is proven, and tables of contents that stand for an image's layer.
SELECT l.*
FROM indexed_layers l
LEFT JOIN (SELECT DISTINCT layer_id FROM image_layers) i ON i.layer_id = l.layer_id
WHERE l.origin = 'tar' OR i.layer_id IS NOT NULL
