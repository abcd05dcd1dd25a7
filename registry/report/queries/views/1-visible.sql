-- What a runtime shows of each image in `chosen` (the images that a query's parameters name, else all): one row for each path, of the topmost layer that has it and that nothing above hides.
--
-- A whiteout hides its path and all below it in lower layers; an opaque marker hides what is below its directory; whatever is no
-- directory hides all that lower layers have below its path. A directory that a layer merely implies changes nothing where a lower
-- layer has it, and takes the place of anything else.
WITH placed AS (
  SELECT il.image_id, il.position, e.layer_id, e.path_id, e.kind, e.file_id, e.size, e.mode, e.uid, e.gid, e.mtime, e.mtime_ns,
    e.link_id, e.xattrs_id, e.device
  FROM chosen c
  JOIN image_layers il ON il.image_id = c.image_id
  JOIN held e ON e.layer_id = il.layer_id
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
  SELECT h.image_id, p.path, length(p.path) - length(replace(p.path, '/', '')) + 1 AS depth, max(h.position) AS position,
    max(CASE WHEN h.kind = 'opaque' THEN h.position END) AS opaque
  FROM hiding h
  JOIN paths p ON p.path_id = h.path_id
  GROUP BY h.image_id, p.path
),
-- Names of the entries of images that hide something: few beside all names there are, whatever planners estimate.
names AS (
  SELECT p.path_id, p.path
  FROM (SELECT DISTINCT path_id FROM placed WHERE image_id IN (SELECT image_id FROM hiding)) e
  JOIN paths p ON p.path_id = e.path_id
),
-- Each entry with those of its parent directories that are as deep as something that hides, so that they are compared as a whole.
parents AS (
  SELECT e.image_id, e.position, e.path_id, substring_index(p.path, '/', d.depth) AS path
  FROM (SELECT DISTINCT image_id, depth FROM hiding_paths WHERE path <> '') d
  JOIN placed e ON e.image_id = d.image_id
  JOIN names p ON p.path_id = e.path_id
  WHERE length(p.path) - length(replace(p.path, '/', '')) >= d.depth
),
hidden AS (
  SELECT e.image_id, e.position, e.path_id
  FROM parents e
  JOIN hiding_paths h ON h.image_id = e.image_id AND h.path = e.path AND h.position > e.position
  UNION
  SELECT e.image_id, e.position, e.path_id
  FROM placed e
  JOIN hiding h ON h.image_id = e.image_id AND h.path_id = e.path_id AND h.position > e.position AND h.kind = 'whiteout'
  UNION
  SELECT e.image_id, e.position, e.path_id
  FROM placed e
  JOIN hiding_paths h ON h.image_id = e.image_id AND h.opaque > e.position AND h.path = ''
),
shown AS (
  SELECT e.image_id, e.position, e.path_id, e.kind
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
SELECT e.image_id, e.position, e.layer_id, e.path_id, e.kind, e.file_id, e.size, e.mode, e.uid, e.gid, e.mtime, e.mtime_ns,
  e.link_id, e.xattrs_id, e.device
FROM top t
JOIN placed e
  ON e.image_id = t.image_id AND e.path_id = t.path_id
  AND e.position = CASE
    WHEN t.defined IS NULL THEN t.implied
    WHEN t.implied > t.defined AND (t.directory IS NULL OR t.directory < t.defined) THEN t.implied
    ELSE t.defined
  END
WHERE e.kind NOT IN ('whiteout', 'opaque')
