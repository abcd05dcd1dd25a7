/** Files that are whole or not there. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { during } from '../../registry/errors.ts';

/** Writes `text` to `file`: all of it or, after an error, nothing. */
export async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  await during(`writing ${file}`, async () => {
    try {
      await writeFile(temporary, text, { flag: 'wx' });
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  });
}
