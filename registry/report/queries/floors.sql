-- For floors among many images at once (`floor` tells one): what each image of `chosen` shows, in classes of contents that lie in the
-- same layers of the repository. An update to the image has to bring a class unless the node has an image with one of these layers
-- (`classes`). `diff_id` is the layer by whose compression `bytes` count.
WITH new AS (
  SELECT image_id, file_id, max(size) AS size, min(layer_id) AS layer_id
  FROM visible
  WHERE file_id IS NOT NULL
  GROUP BY image_id, file_id
)
SELECT h.series, cast(h.held AS STRING) AS class, i.digest AS image, l.diff_id AS diff_id, count(*) AS contents, sum(n.size) AS bytes
FROM new n
JOIN series s ON s.image_id = n.image_id
JOIN classed h ON h.series = s.series AND h.file_id = n.file_id
JOIN images i ON i.image_id = n.image_id
JOIN layers l ON l.layer_id = n.layer_id
GROUP BY h.series, h.held, i.digest, l.diff_id
ORDER BY series, class, image, diff_id
