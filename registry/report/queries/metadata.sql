-- Files that an update from the image :from to the image :to sends again though their content is the same at the same path: only mode,
-- owner, time or xattrs differ, or nothing at all but the layer. Only layers that :from lacks are sent.
WITH shown AS (
  SELECT i.digest, v.layer_id, v.path_id, v.file_id, v.size, v.mode, v.uid, v.gid, v.mtime, v.mtime_ns, v.xattrs_id
  FROM visible v
  JOIN images i ON i.image_id = v.image_id
  WHERE v.kind = 'file'
),
kept AS (
  SELECT il.layer_id FROM image_layers il JOIN images i ON i.image_id = il.image_id WHERE i.digest = :from
),
pairs AS (
  SELECT n.size, n.mode <> o.mode AS other_mode, n.uid <> o.uid OR n.gid <> o.gid AS other_owner,
    n.mtime <> o.mtime OR n.mtime_ns <> o.mtime_ns AS other_time,
    coalesce(n.xattrs_id, 0) <> coalesce(o.xattrs_id, 0) AS other_xattrs
  FROM shown n
  JOIN shown o ON o.path_id = n.path_id AND o.file_id = n.file_id
  LEFT JOIN (SELECT DISTINCT layer_id FROM kept) k ON k.layer_id = n.layer_id
  WHERE k.layer_id IS NULL AND n.digest = :to AND o.digest = :from
)
SELECT other_mode, other_owner, other_time, other_xattrs, count(*) AS files, sum(size) AS bytes
FROM pairs
GROUP BY other_mode, other_owner, other_time, other_xattrs
ORDER BY bytes DESC, other_mode, other_owner, other_time, other_xattrs
