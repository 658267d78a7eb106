"""Named, seeded workloads of real text: the same requests for an engine in this process and for a server.

workload = build("chat", llm.tokenizer, seed=0, num_requests=32)
llm.generate(workload.prompts, ...)                                # or workload.rounds(), turn by turn
[request.messages for request in workload.requests]                # or as conversations
"""

from redline.bench.workloads.named import NAMES, SUMMARIES, build
from redline.bench.workloads.workload import Message, Request, Session, Workload

__all__ = ["NAMES", "SUMMARIES", "Message", "Request", "Session", "Workload", "build"]
