-- Layers of the images that are not in the index (yet): figures over their images would be wrong.
SELECT DISTINCT il.diff_id
FROM image_layers il
LEFT JOIN layers l ON l.layer_id = il.layer_id
WHERE l.layer_id IS NULL
ORDER BY il.diff_id
