-- What a runtime shows of each image in `chosen` (the images that a query's parameters name, else all): one row for each path, of the topmost layer that has it and that nothing above hides.
--
-- A whiteout hides its path and all below it in lower layers; an opaque marker hides what is below its directory; whatever is no
-- directory hides all that lower layers have below its path. A directory that a layer merely implies changes nothing where a lower
-- layer has it, and takes the place of anything else.
WITH placed AS (
  SELECT il.image_id, il.position, e.layer_id, e.path_id, e.kind
  FROM chosen c
  JOIN image_layers il ON il.image_id = c.image_id
  JOIN entries e ON e.layer_id = il.layer_id
  WHERE NOT e.superseded
),
-- Rows that hide what lower layers have below their path, and whiteouts their path too.
hiding AS (
  SELECT image_id, path_id, kind, max(position) AS position
  FROM placed
  WHERE kind IN ('whiteout', 'opaque')
  GROUP BY image_id, path_id, kind
  UNION
  SELECT above.image_id, above.path_id, 'other' AS kind, max(above.position) AS position
  FROM placed above
  JOIN placed below
    ON below.image_id = above.image_id AND below.path_id = above.path_id AND below.position < above.position
  WHERE above.kind NOT IN ('whiteout', 'opaque', 'implied', 'dir') AND below.kind IN ('dir', 'implied')
  GROUP BY above.image_id, above.path_id
),
-- By path: whatever image has something hidden asks for the paths of its entries; those without do not.
hiding_paths AS (
  SELECT DISTINCT h.image_id, h.kind, h.position, p.path
  FROM hiding h
  JOIN paths p ON p.path_id = h.path_id
),
hidden AS (
  SELECT DISTINCT e.image_id, e.position, e.path_id
  FROM (SELECT DISTINCT image_id FROM hiding) i
  JOIN placed e ON e.image_id = i.image_id
  JOIN paths p ON p.path_id = e.path_id
  JOIN hiding_paths h
    ON h.image_id = e.image_id AND h.position > e.position
  WHERE (h.kind = 'whiteout' AND p.path = h.path)
    OR substr(p.path, 1, length(h.path) + 1) = concat(h.path, '/')
    OR (h.path = '' AND h.kind = 'opaque')
),
shown AS (
  SELECT e.*
  FROM placed e
  LEFT JOIN hidden h
    ON h.image_id = e.image_id AND h.position = e.position AND h.path_id = e.path_id
  WHERE h.path_id IS NULL AND e.kind NOT IN ('whiteout', 'opaque')
),
top AS (
  SELECT image_id, path_id,
    max(CASE WHEN kind <> 'implied' THEN position END) AS defined,
    max(CASE WHEN kind = 'implied' THEN position END) AS implied,
    max(CASE WHEN kind = 'dir' THEN position END) AS directory
  FROM shown
  GROUP BY image_id, path_id
)
SELECT il.image_id, il.position, e.layer_id, e.path_id, e.kind, e.file_id, e.size, e.mode, e.uid, e.gid, e.mtime, e.mtime_ns,
  e.link_id, e.xattrs_id, e.device
FROM top t
JOIN image_layers il
  ON il.image_id = t.image_id
  AND il.position = CASE
    WHEN t.defined IS NULL THEN t.implied
    WHEN t.implied > t.defined AND (t.directory IS NULL OR t.directory < t.defined) THEN t.implied
    ELSE t.defined
  END
JOIN entries e
  ON e.layer_id = il.layer_id AND e.path_id = t.path_id
WHERE NOT e.superseded AND e.kind NOT IN ('whiteout', 'opaque')
