/** What a registry has: the tags of a repository, and its repositories. */
import { pullScope, RegistryClient } from './client.ts';
import { during } from './errors.ts';
import { readNames } from './page.ts';
import { complete, type RemoteOptions, type RemoteReference } from './remote.ts';

async function withClient<T>(
  host: string,
  repository: string,
  options: RemoteOptions,
  work: (client: RegistryClient) => Promise<T>,
): Promise<T> {
  const client = new RegistryClient(host, repository, options);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** The tags of a repository, in the registry's order, all pages; throws as `openRemote` does. */
export async function listTags(
  reference: Pick<RemoteReference, 'host' | 'repository'>,
  options: RemoteOptions,
): Promise<string[]> {
  const { host, repository } = complete(reference);
  const path = `/v2/${repository}/tags/list`;
  return during(`listing the tags of ${host}/${repository}`, () =>
    withClient(host, repository, options, (client) =>
      readNames(client, path, 'tags', [pullScope(repository)]),
    ),
  );
}

/** The repositories of a registry that has a catalog (Docker Hub, GHCR and most hosted ones have none), all pages. */
export async function listRepositories(host: string, options: RemoteOptions): Promise<string[]> {
  return during(`listing the repositories of ${host}`, () =>
    withClient(host, '', options, (client) =>
      readNames(client, '/v2/_catalog', 'repositories', ['registry:catalog:*']),
    ),
  );
}
