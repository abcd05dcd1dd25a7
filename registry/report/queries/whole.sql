-- Images of which every layer is in the index: what others hold is not known.
SELECT i.digest
FROM images i
JOIN image_layers il ON il.image_id = i.image_id
LEFT JOIN layers l ON l.layer_id = il.layer_id
GROUP BY i.digest
HAVING count(*) = count(l.layer_id)
ORDER BY i.digest
