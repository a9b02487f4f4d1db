// Submits a workflow twice under one request id, follows its run to the end, and shows what refusals look like:
// `hello ADDRESS FILE`, with the token in GLEITZEIT_TOKEN.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "example.com/hello/gen/gleitzeit/v1"
)

// ---------------------------------------------------------------------------------------------------------------------
const (
	deadline = 10 * time.Second       // for one call
	attempts = 6                      // of one request, each with the same request id
	pause    = 500 * time.Millisecond // between them, unless the server says how long
)

// connect returns a connection that notices within half a minute when nobody is there any more.
func connect(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address,
		// Behind a proxy that ends TLS: credentials.NewTLS(nil).
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}))
}

// authorized returns a context for calls that show this token.
func authorized(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// submit may be called again with the same request id: there will be one run.
func submit(ctx context.Context, client pb.WorkflowServiceClient, request *pb.SubmitWorkflowRequest) (*pb.SubmitWorkflowResponse, error) {
	for attempt := 1; ; attempt++ {
		call, cancel := context.WithTimeout(ctx, deadline)
		answer, err := client.SubmitWorkflow(call, request, grpc.WaitForReady(true))
		cancel()
		refused := read(err)
		if err == nil || attempt == attempts || !refused.passes() {
			return answer, err
		}
		if err := wait(ctx, refused.after); err != nil {
			return nil, err
		}
	}
}

// watch hands over every event of a run, each once and in order, and returns the run at its end. Where the stream
// breaks it goes on behind the last event that came. The context's deadline is how long you want to follow the run.
func watch(ctx context.Context, client pb.WorkflowServiceClient, run string, seen func(*pb.RunEvent)) (*pb.Run, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := uint64(1)
	for {
		request := &pb.WatchRunRequest{RunId: run, FromSeq: next}
		stream, err := client.WatchRun(ctx, request, grpc.WaitForReady(true))
		for err == nil {
			var message *pb.WatchRunResponse
			if message, err = stream.Recv(); err != nil {
				break
			}
			for _, event := range message.Events {
				seen(event)
				next = event.Seq + 1
			}
			if message.Run != nil {
				return message.Run, nil
			}
		}
		refused := read(err)
		if !errors.Is(err, io.EOF) && !refused.passes() {
			return nil, err
		}
		if err := wait(ctx, refused.after); err != nil {
			return nil, err
		}
	}
}

// refusal is what an error says to programs.
type refusal struct {
	code     codes.Code
	reason   string                                  // a name of docs/ERRORS.md; empty: no answer of the control plane
	problems []*errdetails.BadRequest_FieldViolation // what is wrong with the workflow or request
	busy     bool                                    // the server has too much to do now
	after    time.Duration                           // when to try again
}

func read(err error) refusal {
	found := refusal{code: status.Code(err), after: pause}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			found.reason = detail.Reason
		case *errdetails.BadRequest:
			found.problems = detail.FieldViolations
		case *errdetails.RetryInfo:
			found.busy, found.after = true, detail.RetryDelay.AsDuration()
		}
	}
	return found
}

// passes says whether the same request may succeed later.
func (r refusal) passes() bool {
	switch r.code {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	case codes.Internal, codes.Unknown, codes.Canceled:
		return r.busy || r.reason == "" // broken on the way: what the control plane answers has a reason
	}
	return r.busy
}

func wait(ctx context.Context, delay time.Duration) error {
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ---------------------------------------------------------------------------------------------------------------------

const wrong = "name: Wrong\ntasks:\n  - id: a\n    methd: util/echo\n  - {id: b, method: util/ecko}\n"

func run(address, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	connection, err := connect(address)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewWorkflowServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	owner := authorized(ctx, os.Getenv("GLEITZEIT_TOKEN"))

	request := &pb.SubmitWorkflowRequest{
		RequestId: rand.Text(),
		Source:    &pb.SubmitWorkflowRequest_Yaml{Yaml: string(text)},
	}
	first, err := submit(owner, client, request)
	if err != nil {
		return err
	}
	again, err := submit(owner, client, request)
	if err != nil {
		return err
	}
	fmt.Println("submitted", first.RunId)
	fmt.Println("again", again.RunId, again.Duplicate)

	ended, err := watch(owner, client, first.RunId, func(event *pb.RunEvent) {
		fmt.Println("event", event.Seq, event.Type, event.TaskId)
	})
	if err != nil {
		return err
	}
	fmt.Println("ended", ended.Status, ended.GetOutputsJson())

	_, err = submit(owner, client, &pb.SubmitWorkflowRequest{Source: &pb.SubmitWorkflowRequest_Yaml{Yaml: wrong}})
	refused := read(err)
	fmt.Println("refused", refused.reason)
	for _, problem := range refused.problems {
		fmt.Println("problem", problem.Field, problem.Reason, problem.Description)
	}

	_, err = submit(authorized(ctx, "wrong"), client, request)
	refused = read(err)
	fmt.Println("stranger", refused.code, refused.reason)
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: hello ADDRESS FILE, with the token in GLEITZEIT_TOKEN")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
