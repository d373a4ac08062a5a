// load writes through etcd's own client until SIGTERM, a put every few milliseconds over one connection, with a watch on
// what it writes; then it prints what went wrong and how long the longest pause was.
//
// usage: load ENDPOINT,... CA CERT KEY COUNTER
//
// COUNTER: the key that it writes.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	pause    = 5 * time.Millisecond
	tryLimit = 10 * time.Second
)

type report struct {
	Puts         int      `json:"puts"`
	Errors       []string `json:"errors"`
	LongestPause int64    `json:"longest_pause_ms"`
	Watched      int      `json:"watched"` // events of puts that were acknowledged, in order
	WatchFaults  []string `json:"watch_faults"`
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "load: %s: %v\n", what, err)
	os.Exit(1)
}

func configuration(args []string) clientv3.Config {
	ca, err := os.ReadFile(args[1])
	if err != nil {
		fail("the authority", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(args[2], args[3])
	if err != nil {
		fail("the certificate", err)
	}
	return clientv3.Config{
		Endpoints:            strings.Split(args[0], ","),
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    time.Second,
		DialKeepAliveTimeout: time.Second,
		TLS:                  &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}},
	}
}

// watch counts the events of the counter and notes each that comes out of turn.
func watch(ctx context.Context, client *clientv3.Client, key string, from int64, done chan<- report) {
	var seen report
	last := 0
	for answer := range client.Watch(ctx, key, clientv3.WithRev(from)) {
		if err := answer.Err(); err != nil && ctx.Err() == nil {
			seen.WatchFaults = append(seen.WatchFaults, err.Error())
		}
		for _, event := range answer.Events {
			number, _ := strconv.Atoi(string(event.Kv.Value))
			if number <= last {
				seen.WatchFaults = append(seen.WatchFaults, fmt.Sprintf("%d after %d", number, last))
			}
			last = number
			seen.Watched++
		}
	}
	done <- seen
}

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	client, err := clientv3.New(configuration(os.Args[1:]))
	if err != nil {
		fail("the client", err)
	}
	key := os.Args[5]
	first, err := client.Put(context.Background(), key, "0")
	if err != nil {
		fail("the first put", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan report)
	go watch(ctx, client, key, first.Header.Revision+1, watched)
	fmt.Println("ready")

	var told report
	number, last := 0, time.Now()
	for {
		select {
		case <-stop:
			time.Sleep(time.Second) // events of the last puts
			cancel()
			seen := <-watched
			told.Watched, told.WatchFaults = seen.Watched, seen.WatchFaults
			json.NewEncoder(os.Stdout).Encode(told)
			return
		case <-time.After(pause):
		}
		number++
		try, end := context.WithTimeout(context.Background(), tryLimit)
		_, err := client.Put(try, key, strconv.Itoa(number))
		end()
		if err != nil {
			told.Errors = append(told.Errors, err.Error())
			continue
		}
		told.Puts++
		told.LongestPause = max(told.LongestPause, time.Since(last).Milliseconds())
		last = time.Now()
	}
}
