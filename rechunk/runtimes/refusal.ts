/** Why a runtime takes no image of such layers. */
import { type Path, showPath } from '../../registry/path.ts';

/** Thrown within the models only: what is refused is a result. */
export class Refusal extends Error {
  readonly path: Path;
  readonly reason: string;
  /** Whether other layers of the same files could avoid it. */
  readonly isFixable: boolean;

  constructor(path: Path, reason: string, isFixable = true) {
    super(`/${showPath(path)}: ${reason}`);
    this.path = path;
    this.reason = reason;
    this.isFixable = isFixable;
  }
}
