-- The files that a runtime shows of the image with digest :image, whiteouts applied.
SELECT DISTINCT p.path, v.kind, v.size, v.mode, v.uid, v.gid, v.mtime, v.mtime_ns, v.position, v.file_id, v.link_id, v.xattrs_id
FROM visible v
JOIN images i ON i.image_id = v.image_id
JOIN paths p ON p.path_id = v.path_id
WHERE i.digest = :image
ORDER BY p.path
