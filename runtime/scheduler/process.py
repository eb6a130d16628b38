"""The scheduler in a process of its own: ``python -m sglang_lang.runtime.scheduler.process``."""

from __future__ import annotations

import logging
import os
import signal
import sys

from .. import logs
from ..errors import SGLangError
from ..ipc import ZmqSchedulerPort, receive_start
from ..messages import SchedulerFailed
from ..process_age import process_age
from ..server_args import ServerArgs
from .setup import LoadTimes, make_scheduler

logger = logging.getLogger(__name__)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the API process decides when to stop
    start = receive_start(sys.stdin.buffer)
    args: ServerArgs = start.args
    logs.set_up(args.log_level, args.log_format)
    port = ZmqSchedulerPort(start.addresses)
    times = LoadTimes(process_age())
    times.mark("imports")
    try:
        scheduler, ready = make_scheduler(args, port, start.weights_path, times)
    except SGLangError as error:
        port.send([SchedulerFailed(message=str(error))])
        port.close()
        return 2
    ready.pid = os.getpid()
    port.send([ready])
    scheduler.run_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
