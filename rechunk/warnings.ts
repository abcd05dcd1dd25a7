/** Warnings that may occur for thousands of paths. */

/** Examples that a warning names before it only counts. */
const WARNING_EXAMPLES = 3;

/** Collects warnings of one kind into one sentence with examples and a count. */
export class Warnings {
  readonly #kinds = new Map<string, { examples: string[]; count: number }>();

  add(kind: string, example: string): void {
    const known = this.#kinds.get(kind);
    if (!known) this.#kinds.set(kind, { examples: [example], count: 1 });
    else if (++known.count <= WARNING_EXAMPLES) known.examples.push(example);
  }

  list(): string[] {
    return [...this.#kinds].map(([kind, { examples, count }]) => {
      const more = count > examples.length ? ` and ${count - examples.length} more` : '';
      return `${kind}: ${examples.join(', ')}${more}`;
    });
  }
}
