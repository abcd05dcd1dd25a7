// needs: docker-registry, skopeo
import { startRegistry } from '../test-images/registry.ts';
import { testDestination } from './destination.conformance.ts';
import { listTags } from './lists.ts';
import { createRemote, openRemote, type RemoteOptions } from './remote.ts';

const registry = await startRegistry();
const options: RemoteOptions = { env: {}, retryDelayMs: 10 };
let count = 0;

testDestination(
  'a registry',
  async () => {
    const reference = { host: registry.host, repository: `conformance/n${count++}` };
    return {
      open: (tag) => createRemote({ ...reference, tag }, options),
      reopen: (tag) => openRemote({ ...reference, tag }, options),
      list: () => listTags(reference, options).catch(() => []),
      remove: async () => {},
    };
  },
  { takesBack: false },
);

// The suite is queued by now; the registry must not keep the process alive after it.
registry.unref();
