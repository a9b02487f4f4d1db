import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.github.gleitzeit.v1.*;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * Submits a workflow twice under one request id, follows its run to the end, and shows what refusals look like:
 * {@code Hello ADDRESS FILE}, with the token in GLEITZEIT_TOKEN.
 */
public final class Hello {
// ---------------------------------------------------------------------------------------------------------------------
    /** For one call, in seconds. */
    static final long DEADLINE_S = 10;
    /** Of one request, each with the same request id. */
    static final int ATTEMPTS = 6;
    /** Between them, in milliseconds, unless the server says how long. */
    static final long PAUSE_MS = 500;

    /** A connection that notices within half a minute when nobody is there any more. */
    static ManagedChannel connect(String address) {
        // Behind a proxy that ends TLS: useTransportSecurity().
        return ManagedChannelBuilder.forTarget(address)
            .usePlaintext()
            .keepAliveTime(20, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS)
            .build();
    }

    /** A client that shows this token with each call. */
    static WorkflowServiceGrpc.WorkflowServiceBlockingStub client(ManagedChannel channel, String token) {
        Metadata metadata = new Metadata();
        metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
        return WorkflowServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
            .withWaitForReady();
    }

    /** May be called again with the same request id: there will be one run. */
    static SubmitWorkflowResponse submit(
        WorkflowServiceGrpc.WorkflowServiceBlockingStub client, SubmitWorkflowRequest request
    ) throws InterruptedException {
        for (int attempt = 1; ; attempt++) {
            try {
                return client.withDeadlineAfter(DEADLINE_S, TimeUnit.SECONDS).submitWorkflow(request);
            } catch (StatusRuntimeException error) {
                Refusal refused = Refusal.of(error);
                if (attempt == ATTEMPTS || !refused.passes()) {
                    throw error;
                }
                Thread.sleep(refused.afterMs());
            }
        }
    }

    /**
     * Hands over every event of a run, each once and in order, and returns the run at its end. Where the stream breaks
     * it goes on behind the last event that came.
     */
    static Run watch(
        WorkflowServiceGrpc.WorkflowServiceBlockingStub client, String run, long seconds, Consumer<RunEvent> seen
    ) throws InterruptedException {
        // For all of it together: how long you want to follow the run.
        client = client.withDeadlineAfter(seconds, TimeUnit.SECONDS);
        long next = 1;
        while (true) {
            Run ended = null;
            long pause = PAUSE_MS;
            try {
                WatchRunRequest request = WatchRunRequest.newBuilder().setRunId(run).setFromSeq(next).build();
                Iterator<WatchRunResponse> messages = client.watchRun(request);
                while (messages.hasNext()) {
                    WatchRunResponse message = messages.next();
                    for (RunEvent event : message.getEventsList()) {
                        seen.accept(event);
                        next = event.getSeq() + 1;
                    }
                    ended = message.hasRun() ? message.getRun() : ended;
                }
            } catch (StatusRuntimeException error) {
                Refusal refused = Refusal.of(error);
                boolean late = client.getCallOptions().getDeadline().isExpired();
                if (ended == null && (late || !refused.passes())) {
                    throw error;
                }
                pause = refused.afterMs();
            }
            if (ended != null) {
                return ended;
            }
            Thread.sleep(pause);
        }
    }

    /**
     * What an error says to programs.
     *
     * @param reason a name of docs/ERRORS.md; empty: no answer of the control plane
     * @param problems what is wrong with the workflow or request
     * @param busy the server has too much to do now
     * @param afterMs when to try again
     */
    record Refusal(
        Status.Code code, String reason, List<BadRequest.FieldViolation> problems, boolean busy, long afterMs
    ) {
        static Refusal of(StatusRuntimeException error) {
            String reason = "";
            List<BadRequest.FieldViolation> problems = List.of();
            boolean busy = false;
            long afterMs = PAUSE_MS;
            try {
                for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
                    if (detail.is(ErrorInfo.class)) {
                        reason = detail.unpack(ErrorInfo.class).getReason();
                    } else if (detail.is(BadRequest.class)) {
                        problems = detail.unpack(BadRequest.class).getFieldViolationsList();
                    } else if (detail.is(RetryInfo.class)) {
                        busy = true;
                        Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
                        afterMs = delay.getSeconds() * 1_000 + delay.getNanos() / 1_000_000;
                    }
                }
            } catch (InvalidProtocolBufferException unreadable) {
                error.addSuppressed(unreadable);
            }
            return new Refusal(error.getStatus().getCode(), reason, problems, busy, afterMs);
        }

        /** Whether the same request may succeed later. */
        boolean passes() {
            if (Context.current().isCancelled()) {
                return false; // the caller no longer wants it
            }
            return busy || switch (code) {
                case UNAVAILABLE, DEADLINE_EXCEEDED -> true;
                // Broken on the way: what the control plane answers has a reason.
                case INTERNAL, UNKNOWN, CANCELLED -> reason.isEmpty();
                default -> false;
            };
        }
    }
// ---------------------------------------------------------------------------------------------------------------------

    private static final String WRONG =
        "name: Wrong\ntasks:\n  - id: a\n    methd: util/echo\n  - {id: b, method: util/ecko}\n";

    private static SubmitWorkflowRequest request(String yaml) {
        return SubmitWorkflowRequest.newBuilder().setRequestId(UUID.randomUUID().toString()).setYaml(yaml).build();
    }

    private static void run(ManagedChannel channel, String file) throws IOException, InterruptedException {
        var client = client(channel, System.getenv().getOrDefault("GLEITZEIT_TOKEN", ""));
        SubmitWorkflowRequest request = request(Files.readString(Path.of(file)));
        SubmitWorkflowResponse first = submit(client, request);
        SubmitWorkflowResponse again = submit(client, request);
        System.out.println("submitted " + first.getRunId());
        System.out.println("again " + again.getRunId() + " " + again.getDuplicate());

        Run ended = watch(client, first.getRunId(), 600, event ->
            System.out.println("event " + event.getSeq() + " " + event.getType() + " " + event.getTaskId()));
        System.out.println("ended " + ended.getStatus() + " " + ended.getOutputsJson());

        try {
            submit(client, request(WRONG));
        } catch (StatusRuntimeException error) {
            Refusal refused = Refusal.of(error);
            System.out.println("refused " + refused.reason());
            for (BadRequest.FieldViolation problem : refused.problems()) {
                System.out.println("problem " + problem.getField() + " " + problem.getReason() + " " + problem.getDescription());
            }
        }
        try {
            submit(client(channel, "wrong"), request);
        } catch (StatusRuntimeException error) {
            Refusal refused = Refusal.of(error);
            System.out.println("stranger " + refused.code() + " " + refused.reason());
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            System.err.println("usage: Hello ADDRESS FILE, with the token in GLEITZEIT_TOKEN");
            System.exit(2);
        }
        ManagedChannel channel = connect(arguments[0]);
        try {
            run(channel, arguments[1]);
        } finally {
            channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
        }
    }
}
