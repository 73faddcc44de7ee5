"""`make key`: core.keys on the database that the settings name, or else on the one of `make up`, running or not."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from core import db, keys
from core.embedded import Embedded, InUse
from core.errors import Unavailable
from core.settings import settings

_DATA = Path(__file__).resolve().parents[1] / "var"


def main() -> int:
    """Make, list or revoke, as the arguments say."""
    if settings().database_url:
        return keys.main(sys.argv[1:])
    embedded = Embedded(os.environ.get("DISTILLERY_DATA_DIR") or _DATA)
    try:
        # Where it is in use, the service runs.
        with suppress(InUse):
            embedded.start()
        os.environ["DISTILLERY_DATABASE_URL"] = embedded.database_url
        settings.cache_clear()
        db.upgrade()
        return keys.main(sys.argv[1:])
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        embedded.stop()


if __name__ == "__main__":
    sys.exit(main())
