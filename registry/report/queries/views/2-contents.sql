-- Each content that layers store as files: how often, and its size. A hard link stores nothing. What claims another size is another content:
-- a table of contents is taken at its word (`tables`), and must not make larger what others have.
SELECT file_id, size, count(*) AS copies
FROM entries
WHERE kind = 'file'
GROUP BY file_id, size
