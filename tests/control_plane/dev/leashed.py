"""A parent for tests to kill: starts a program on a leash, says its process, waits for ever.

python -m tests.control_plane.dev.leashed kernel|keeper SIGNAL PROGRAM...
"""

import asyncio
import signal
import sys

from control_plane.dev import leash


async def main() -> None:
    how, number, *program = sys.argv[1:]
    with open("/dev/null", "wb") as nowhere:  # noqa: ASYNC230 - nothing else runs yet
        process = await leash.start(
            program,
            output=nowhere,
            at_parting=signal.Signals[number],
            by_kernel=how == "kernel",
        )
    sys.stdout.write(f"{process.pid}\n")
    sys.stdout.flush()
    sys.stdout.close()
    sys.exit(await process.wait())


if __name__ == "__main__":
    asyncio.run(main())
