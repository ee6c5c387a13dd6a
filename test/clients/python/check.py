"""A gateway in another language: a client made from the .proto files alone, checked against a running scheduler.

Usage: check.py --address HOST:PORT --key KEY --proto FOLDER [--model NAME]

The stubs are generated into a temporary folder. Each check prints "ok NAME" or "not ok NAME: why"; the exit code is the
number of checks that failed. The scheduler is expected to serve `model`, to give `max_tokens` chunks for it, and to serve
a model `hang` that gives one chunk and then nothing.
"""

import argparse
import json
import pathlib
import queue
import struct
import sys
import tempfile
import time
import traceback

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from google.rpc import status_pb2
from grpc_tools import protoc


def load_stubs(proto_folder):
    """Generates the stubs of inference.v1 and imports them."""
    out = tempfile.mkdtemp(prefix="sophia-stubs-")
    source = pathlib.Path(proto_folder) / "inference" / "v1" / "inference.proto"
    args = ["protoc", f"-I{proto_folder}", f"--python_out={out}", f"--grpc_python_out={out}", str(source)]
    if protoc.main(args) != 0:
        raise SystemExit("the stubs could not be generated")
    sys.path.insert(0, out)
    from inference.v1 import inference_pb2, inference_pb2_grpc

    return inference_pb2, inference_pb2_grpc


class Checks:
    def __init__(self, args):
        self.pb, self.rpc = load_stubs(args.proto)
        self.model = args.model
        self.channel = grpc.insecure_channel(args.address)
        self.stub = self.rpc.InferenceStub(self.channel)
        self.auth = (("authorization", f"Bearer {args.key}"),)

    def body(self, tokens=3, model=None, stream=True):
        messages = [{"role": "user", "content": "hi"}]
        fields = {"model": model or self.model, "messages": messages, "max_tokens": tokens, "stream": stream}
        return json.dumps(fields).encode()

    def failure(self, work):
        """Runs what must fail; gives its grpc status code, ErrorInfo and RetryInfo (or None)."""
        try:
            work()
        except grpc.RpcError as error:
            return error.code(), *self.details(rpc_status.from_call(error))
        raise AssertionError("the call did not fail")

    @staticmethod
    def details(status):
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        has_info = has_retry = False
        for detail in status.details if status else []:
            has_info = detail.Unpack(info) or has_info
            has_retry = detail.Unpack(retry) or has_retry
        return info if has_info else None, retry if has_retry else None

    def check_generate(self):
        envelope = self.pb.Envelope(id="py-1", return_token_ids=True)
        call = self.stub.Generate(self.pb.GenerateRequest(envelope=envelope, body=self.body(4)), metadata=self.auth)
        messages = list(call)
        assert dict(call.initial_metadata())["x-request-id"] == "py-1"
        chunks = [json.loads(m.chunk) for m in messages if m.chunk]
        assert len(chunks) == 4 and all(chunk["choices"] for chunk in chunks), chunks
        assert messages[0].request_id == "py-1" and not any(m.request_id for m in messages[1:])
        assert sum(len(m.token_ids) for m in messages) == 4
        assert [m.HasField("usage") for m in messages].count(True) == 1 and messages[-1].HasField("usage")
        assert messages[-1].usage.completion_tokens == 4
        assert not messages[-1].usage.HasField("cached_prompt_tokens"), "unknown is absent"

    def check_plain_answer(self):
        request = self.pb.GenerateRequest(body=self.body(3, stream=False))
        messages = list(self.stub.Generate(request, metadata=self.auth))
        assert len([m for m in messages if m.chunk]) == 1
        assert json.loads(messages[0].chunk)["object"] == "chat.completion"

    def check_generate_many(self):
        """Three requests at once; the second has credit for a few entries at a time and is granted more as it reads."""
        pb, orders = self.pb, queue.Queue()
        starts = [
            pb.Start(stream=1, envelope=pb.Envelope(id="m1", return_token_ids=True), body=self.body(20)),
            pb.Start(stream=2, envelope=pb.Envelope(id="m2"), body=self.body(50), credit_bytes=200),
            pb.Start(stream=3, envelope=pb.Envelope(id="m3"), body=self.body(1, model="absent")),
        ]
        orders.put(pb.GenerateManyRequest(start=starts))
        chunks, ids, usage, errors, ended = {1: 0, 2: 0, 3: 0}, 0, {}, {}, set()
        for batch in self.stub.GenerateMany(iter(orders.get, None), metadata=self.auth, timeout=20):
            assert len(batch.stream) == len(batch.kind) == len(batch.size)
            at = 0
            for stream, kind, size in zip(batch.stream, batch.kind, batch.size):
                data, at = batch.data[at : at + size], at + size
                if kind == pb.ENTRY_KIND_CHUNK:
                    assert json.loads(data)["choices"]
                    chunks[stream] += 1
                    if stream == 2:
                        orders.put(pb.GenerateManyRequest(credit=[pb.Credit(stream=2, bytes=size)]))
                elif kind == pb.ENTRY_KIND_TOKEN_IDS:
                    ids += len(struct.unpack(f"<{size // 4}I", data))
                elif kind == pb.ENTRY_KIND_USAGE:
                    usage[stream] = pb.Usage.FromString(data)
                elif kind == pb.ENTRY_KIND_ERROR:
                    errors[stream] = self.details(status_pb2.Status.FromString(data))[0]
                    ended.add(stream)
                elif kind == pb.ENTRY_KIND_END:
                    ended.add(stream)
            if ended == {1, 2, 3}:
                orders.put(None)
        assert chunks == {1: 20, 2: 50, 3: 0}, chunks
        assert ids == 20, ids
        assert usage[2].completion_tokens == 50
        assert errors[3].reason == "model_not_found" and errors[3].metadata["request_id"] == "m3"

    def check_cancel_in_many(self):
        pb, orders = self.pb, queue.Queue()
        orders.put(pb.GenerateManyRequest(start=[pb.Start(stream=9, body=self.body(model="hang"))]))
        kinds, reason = [], None
        for batch in self.stub.GenerateMany(iter(orders.get, None), metadata=self.auth, timeout=20):
            kinds.extend(batch.kind)
            if pb.ENTRY_KIND_CHUNK in batch.kind:
                orders.put(pb.GenerateManyRequest(cancel=[9]))
            if pb.ENTRY_KIND_ERROR in batch.kind:
                reason = self.details(status_pb2.Status.FromString(batch.data))[0].reason
                orders.put(None)
        assert kinds == [pb.ENTRY_KIND_REQUEST_ID, pb.ENTRY_KIND_CHUNK, pb.ENTRY_KIND_ERROR], kinds
        assert reason == "cancelled", reason

    def check_list_models(self):
        models = {m.id: m for m in self.stub.ListModels(self.pb.ListModelsRequest(), metadata=self.auth).models}
        assert self.model in models and models[self.model].ready_engines > 0

    def check_cancel(self):
        request = self.pb.GenerateRequest(envelope=self.pb.Envelope(id="py-c"), body=self.body(model="hang"))
        call = self.stub.Generate(request, metadata=self.auth)
        next(call)
        answer = self.stub.Cancel(self.pb.CancelRequest(request_id="py-c"), metadata=self.auth)
        assert answer.cancelled
        code, info, _ = self.failure(lambda: list(call))
        assert code == grpc.StatusCode.CANCELLED and info.reason == "cancelled", (code, info)
        assert not self.stub.Cancel(self.pb.CancelRequest(request_id="py-c"), metadata=self.auth).cancelled

    def check_errors(self):
        def ask(body, metadata=self.auth, **envelope):
            request = self.pb.GenerateRequest(envelope=self.pb.Envelope(**envelope), body=body)
            return self.failure(lambda: list(self.stub.Generate(request, metadata=metadata)))

        code, info, _ = ask(self.body(model="absent"), id="py-e")
        assert code == grpc.StatusCode.NOT_FOUND and info.domain == "sophia.fleet", (code, info)
        assert info.reason == "model_not_found" and info.metadata["request_id"] == "py-e"
        code, info, _ = ask(b'{"model"')
        assert code == grpc.StatusCode.INVALID_ARGUMENT and info.reason == "malformed_json"
        code, info, _ = ask(self.body(), metadata=())
        assert code == grpc.StatusCode.UNAUTHENTICATED and info.reason == "unauthenticated"
        code, info, _ = ask(self.body(), tenant="somebody-else")
        assert code == grpc.StatusCode.PERMISSION_DENIED and info.metadata["param"] == "envelope.tenant"
        code, info, retry = ask(self.body(model="full"))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and info.reason == "overloaded", (code, info)
        assert retry.retry_delay.ToMilliseconds() == 1500

    def check_deadline(self):
        request = self.pb.GenerateRequest(body=self.body(model="hang"))
        began = time.monotonic()
        code, _, _ = self.failure(lambda: list(self.stub.Generate(request, metadata=self.auth, timeout=0.3)))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - began < 5
        request = self.pb.GenerateRequest(envelope=self.pb.Envelope(deadline_ms=200), body=self.body(model="hang"))
        code, info, _ = self.failure(lambda: list(self.stub.Generate(request, metadata=self.auth)))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED and info.reason == "deadline_exceeded"

    def check_health(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "inference.v1.Inference"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        first = next(stub.Watch(health_pb2.HealthCheckRequest(service="")))
        assert first.status == health_pb2.HealthCheckResponse.SERVING

    def check_reflection(self):
        class WithKey(grpc.StreamStreamClientInterceptor):
            def intercept_stream_stream(inner, continuation, details, requests):
                return continuation(details._replace(metadata=self.auth), requests)

        database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(self.channel, WithKey()))
        assert "inference.v1.Inference" in database.get_services()
        found = database.FindFileContainingSymbol("inference.v1.Inference")
        assert any(message.name == "Envelope" for message in found.message_type)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--proto", required=True)
    parser.add_argument("--model", default="tiny")
    checks = Checks(parser.parse_args())
    failed = 0
    for name in [name for name in dir(checks) if name.startswith("check_")]:
        try:
            getattr(checks, name)()
            print(f"ok {name}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {name}: {traceback.format_exc()}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
