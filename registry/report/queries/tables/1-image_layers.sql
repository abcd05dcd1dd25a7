-- The layers of images as the index has them. Where a layer was read whole, its diffID is proven, and its rows stand for it in all images.
-- Rows of a table of contents are the word of whoever made the blob: they stand for that blob alone, and only where no other blob claims
-- the diffID, so that nobody can say what lies in the layers of others.
WITH single AS (
  SELECT diff_id, min(digest) AS digest FROM named_image_layers GROUP BY diff_id HAVING min(digest) = max(digest)
),
tables AS (
  SELECT s.diff_id, min(t.layer_id) AS layer_id
  FROM single s
  JOIN indexed_layers t ON t.diff_id = s.diff_id AND t.blob = s.digest
  LEFT JOIN (SELECT diff_id FROM indexed_layers WHERE origin = 'tar') w ON w.diff_id = s.diff_id
  WHERE t.origin = 'toc' AND w.diff_id IS NULL
  GROUP BY s.diff_id
)
SELECT n.image_id, n.position, coalesce(t.layer_id, n.layer_id) AS layer_id, n.diff_id, n.digest
FROM named_image_layers n
LEFT JOIN tables t ON t.diff_id = n.diff_id
