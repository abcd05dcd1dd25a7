/** Writes the lists of inputs in the files of CI hosts: `npm run inputs`, after an option of the command line has changed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fillIn, HOST_FILES, type HostName } from '../plugin/plugin.ts';

for (const [host, file] of Object.entries(HOST_FILES)) {
  const path = fileURLToPath(new URL(`../plugin/${file}`, import.meta.url));
  writeFileSync(path, fillIn(host as HostName, readFileSync(path, 'utf8')));
}
