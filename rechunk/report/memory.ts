/** What surveys learnt, in the cache directory. */
import type { Memory } from '../../registry/report/survey.ts';
import { type CacheOptions, completeOptions } from '../cache/cache.ts';
import { CacheDirectory } from '../cache/directory.ts';

const KIND = 'survey';

/** A memory that is closed when the survey is done. */
export interface SurveyMemory extends Memory {
  close(): Promise<void>;
}

/** Opens the memory in the cache that `options` name; undefined, with a notice, where that cannot be used. */
export async function openMemory(
  options: CacheOptions,
  onNotice: (notice: string) => void,
): Promise<SurveyMemory | undefined> {
  const directory = await CacheDirectory.open(
    completeOptions(options),
    { kinds: [KIND] },
    onNotice,
  );
  let isOpen = true;
  return (
    directory && {
      read: (key) => directory.read(KIND, key),
      // A survey that failed may still have answers under way.
      write: (key, bytes) => {
        if (isOpen) directory.write(KIND, key, bytes);
      },
      close: () => {
        isOpen = false;
        return directory.close();
      },
    }
  );
}
