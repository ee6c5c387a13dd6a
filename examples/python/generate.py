"""Streams an answer over gRPC. Needs grpcio and grpcio-tools, and the .proto files of this project.

    python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. proto/inference/v1/inference.proto
    python examples/python/generate.py 127.0.0.1:PORT KEY MODEL "Why is the sky blue?"
"""

import json
import sys

import grpc

sys.path.insert(0, ".")
from inference.v1 import inference_pb2, inference_pb2_grpc  # noqa: E402


def main(address, key, model, prompt):
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": prompt}]}
    with grpc.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)
        request = inference_pb2.GenerateRequest(body=json.dumps(body).encode())
        call = stub.Generate(request, metadata=(("authorization", f"Bearer {key}"),), timeout=600)
        for message in call:
            for choice in json.loads(message.chunk)["choices"] if message.chunk else []:
                print(choice["delta"].get("content") or "", end="", flush=True)
            if message.HasField("usage"):
                print(f"\n[{message.usage.completion_tokens} tokens]")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
