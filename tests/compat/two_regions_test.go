package compat

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Two regions of three real nodes, held by regions.py: it ends them when the
// test's end of its input closes, however the test ends.
type regions struct {
	t     testing.TB
	in    io.WriteCloser
	out   *bufio.Reader
	ctl   string
	Nodes []struct {
		Name, Client string
		Standby      bool
	}
}

func startRegions(t testing.TB, delay string, settings ...string) *regions {
	t.Helper()
	command := exec.Command("./regions.py", append([]string{delay}, settings...)...)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	r := &regions{t: t, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range r.Nodes {
				var text string
				if json.Unmarshal([]byte(r.tell("log "+n.Name)), &text) == nil {
					t.Logf("%s:\n%s", n.Name, text)
				}
			}
		}
		in.Close()
		command.Wait()
	})
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatalf("regions.py ended: %v", err)
	}
	told := struct {
		Ctl   *string
		Nodes any
	}{&r.ctl, &r.Nodes}
	if err := json.Unmarshal([]byte(line), &told); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *regions) tell(command string) string {
	r.t.Helper()
	io.WriteString(r.in, command+"\n")
	answer, err := r.out.ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "ok") {
		r.t.Fatalf("%s: %s %v", command, answer, err)
	}
	return strings.TrimSpace(answer[2:])
}

// "east" is the region that is primary at first.
func (r *regions) names(region string) string {
	var names []string
	for _, n := range r.Nodes {
		if n.Standby == (region == "west") {
			names = append(names, n.Name)
		}
	}
	return strings.Join(names, " ")
}

func (r *regions) endpoints(region string) (at []string) {
	for _, n := range r.Nodes {
		if n.Standby == (region == "west") {
			at = append(at, n.Client)
		}
	}
	return at
}

// A client with all six endpoints in its list, beginning with the i-th: the
// first three begin in the region that will be lost.
func (r *regions) client(i int) *clientv3.Client {
	all := slices.Concat(r.endpoints("east"), r.endpoints("west"))
	i %= len(all)
	return r.clientOf(slices.Concat(all[i:], all[:i])...)
}

func (r *regions) clientOf(at ...string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{Endpoints: at, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// An operator's `leewardctl dr ...` at the region that is left.
func (r *regions) dr(into any, args ...string) error {
	command := exec.Command(r.ctl, append([]string{"--endpoints", strings.Join(r.endpoints("west"), ","), "-o", "json", "dr"}, args...)...)
	out, err := command.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}

// 64-bit numbers are strings in the gateway's JSON.
type figure int64

func (n *figure) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 64)
	*n = figure(value)
	return err
}

type plan struct {
	Allowed         bool
	Digest          string
	PositionIndex   figure    `json:"position_index"`
	KnownLossWrites figure    `json:"known_loss_writes"`
	UnknownSince    time.Time `json:"unknown_since"`
}

type promoted struct {
	ForkIndex     figure `json:"fork_index"`
	ForkRevision  figure `json:"fork_revision"`
	FirstRevision figure `json:"first_revision"`
	begun, ended  time.Time
}

// What an operator does when the region is lost: asks until a promotion is
// allowed, reads what it costs, promotes.
func (r *regions) promote() (plan, promoted) {
	r.t.Helper()
	var p plan
	for end := time.Now().Add(60 * time.Second); !p.Allowed; time.Sleep(50 * time.Millisecond) {
		if err := r.dr(&p, "plan"); time.Now().After(end) {
			r.t.Fatalf("no promotion is allowed: %+v %v", p, err)
		}
	}
	var done promoted
	done.begun = time.Now()
	if err := r.dr(&done, "promote", "--digest", p.Digest, "--accept-data-loss", "--reason", "the region burnt down"); err != nil {
		r.t.Fatalf("promote: %v", err)
	}
	done.ended = time.Now()
	if done.FirstRevision != 2<<44 || done.ForkRevision <= 0 || done.ForkRevision >= done.FirstRevision {
		r.t.Fatalf("%+v", done)
	}
	return p, done
}
