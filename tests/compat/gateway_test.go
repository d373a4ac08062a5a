package compat

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

var httpClient = &http.Client{Timeout: 60 * time.Second}

// One JSON answer: for a stream, its first line.
func (s *server) ask(t testing.TB, method, path, body string) (int, any, http.Header) {
	request, err := http.NewRequest(method, "http://"+s.endpoint+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := httpClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", s.name, path, err)
	}
	defer response.Body.Close()
	var raw []byte
	if path == "/v3/watch" {
		raw, _ = bufio.NewReader(response.Body).ReadBytes('\n') // it may come in pieces
	} else if raw, err = io.ReadAll(response.Body); err != nil {
		t.Fatalf("%s %s: %v", s.name, path, err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		out = string(raw)
	}
	return response.StatusCode, out, response.Header
}

// Figures that differ between clusters become words; revisions count from the base.
func (s *server) plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			switch key {
			case "cluster_id", "member_id", "raft_term", "raftTerm", "raftIndex", "raftAppliedIndex", "dbSize", "dbSizeInUse",
				"leader", "hash", "version", "dbSizeQuota", "storageVersion",
				"compact_revision":
				v[key] = fmt.Sprintf("%T", inner)
			case "revision", "create_revision", "mod_revision", "hash_revision":
				if text, ok := inner.(string); ok {
					if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= s.base {
						v[key] = fmt.Sprintf("base+%d", n-s.base)
					}
				}
			default:
				v[key] = s.plain(inner)
			}
		}
	case []any:
		for i := range v {
			v[i] = s.plain(v[i])
		}
	}
	return value
}

func TestPairTheJSONGatewayAnswersAsEtcds(t *testing.T) {
	p := newPair(t)
	const foo, bar = `"Zm9v"`, `"YmFy"`
	for _, c := range []struct{ path, body string }{
		{"/v3/kv/put", `{"key":` + foo + `,"value":` + bar + `}`},
		{"/v3/kv/put", `{"key":` + foo + `,"value":` + bar + `,"prev_kv":true}`},
		{"/v3/kv/put", `{"key":` + foo + `,"ignoreValue":true,"prevKv":true}`},
		{"/v3/kv/put", `{"key":` + foo + `,"lease":"99"}`},
		{"/v3/kv/put", `{"key":` + foo + `,"lease":99}`},
		{"/v3/kv/put", `{}`},
		{"/v3/kv/put", ``},
		{"/v3/kv/put", `{"key":"%%%"}`},
		{"/v3/kv/put", `{"key":`},
		{"/v3/kv/put", `[]`},
		{"/v3/kv/range", `{"key":` + foo + `}`},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","limit":"1","sort_order":"DESCEND","sort_target":"MOD"}`},
		{"/v3/kv/range", `{"key":"AA==","rangeEnd":"AA==","countOnly":true}`},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","sort_order":2}`},
		{"/v3/kv/range", `{"key":` + foo + `,"revision":"99999999999"}`},
		{"/v3/kv/range", `{"key":` + foo + `,"revision":"x"}`},
		{"/v3/kv/range", `{"key":` + foo + `,"revision":1.5}`},
		{"/v3/kv/range", `{"key":"bm9uZQ=="}`},
		{"/v3/kv/txn", `{"compare":[{"key":` + foo + `,"target":"VALUE","value":` + bar + `}],"success":[{"request_range":{"key":` + foo + `}},{"requestPut":{"key":"eA=="}}],"failure":[{"request_delete_range":{"key":"eA=="}}]}`},
		{"/v3/kv/txn", `{"compare":[{"key":` + foo + `,"result":"GREATER","target":"VERSION","version":"100"}],"failure":[{"request_delete_range":{"key":"eA==","prev_kv":true}},{"request_txn":{}}]}`},
		{"/v3/kv/txn", `{"success":[{"request_put":{"key":"eA=="}},{"request_put":{"key":"eA=="}}]}`},
		{"/v3/kv/deleterange", `{"key":` + foo + `,"prev_kv":true}`},
		{"/v3/kv/deleterange", `{"key":` + foo + `}`},
		{"/v3/kv/compaction", `{"revision":"99999999999"}`},
		{"/v3/kv/compaction", `{"revision":"1"}`},
		{"/v3/lease/grant", `{"TTL":100,"ID":"4711"}`},
		{"/v3/lease/grant", `{"TTL":"100","ID":4711}`},
		{"/v3/kv/put", `{"key":` + foo + `,"lease":"4711"}`},
		{"/v3/lease/timetolive", `{"ID":"4711","keys":true}`},
		{"/v3/kv/lease/timetolive", `{"ID":"1"}`},
		{"/v3/lease/leases", `{}`},
		{"/v3/kv/lease/leases", `{}`},
		{"/v3/lease/keepalive", `{"ID":"4711"}`},
		{"/v3/lease/keepalive", `{"ID":"1"}`},
		{"/v3/lease/revoke", `{"ID":"4711"}`},
		{"/v3/kv/lease/revoke", `{"ID":"4711"}`},
		{"/v3/watch", `{"create_request":{"key":` + foo + `}}`},
		{"/v3/watch", `{"create_request":{"key":` + foo + `,"watch_id":"7","filters":["NOPUT"],"progress_notify":true}}`},
		{"/v3/maintenance/status", `{}`},
		{"/v3/maintenance/hash", `{}`},
		{"/v3/maintenance/hashkv", `{}`},
		{"/v3/maintenance/alarm", `{}`},
		{"/v3/maintenance/alarm", `{"action":"DEACTIVATE","alarm":"NOSPACE"}`},
		{"/v3/maintenance/defragment", `{}`},
		{"/v3/maintenance/transfer-leadership", `{"targetID":"4711"}`},
		{"/v3/auth/status", `{}`},
		{"/v3/auth/authenticate", `{"name":"a","password":"b"}`},
		{"/v3/auth/enable", `{}`},
		{"/v3/auth/user/list", `{}`},
		{"/v3/auth/role/get", `{"role":"x"}`},
		{"/v3/nothing/here", `{}`},
	} {
		var got [2]string
		for i, s := range p.both() {
			code, value, headers := s.ask(t, "POST", c.path, c.body)
			out, _ := json.Marshal(settleJSON(s.plain(value)))
			got[i] = fmt.Sprintf("%d %s %s", code, headers.Get("Content-Type"), out)
		}
		if got[0] != got[1] {
			t.Errorf("%s %s\n leeward %s\n etcd    %s", c.path, c.body, got[0], got[1])
		}
	}
}

// Messages of the JSON parser are its own business, their code is not; and
// Leeward gives the older gateway's "error" beside the newer one's "details".
func settleJSON(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	if message, ok := object["message"].(string); ok {
		if !strings.HasPrefix(message, "etcdserver: ") {
			object["message"] = "(other)"
		}
		delete(object, "error")
		delete(object, "details")
	}
	if result, ok := object["result"].(map[string]any); ok {
		delete(result, "storageVersion")
	}
	// A clock's second may lie between the two that were asked.
	left, _ := strconv.Atoi(fmt.Sprint(object["TTL"]))
	if granted, _ := strconv.Atoi(fmt.Sprint(object["grantedTTL"])); left > 0 && left <= granted && granted-left <= 20 {
		object["TTL"] = object["grantedTTL"]
	}
	delete(object, "storageVersion")
	delete(object, "dbSizeQuota")
	delete(object, "downgradeInfo")
	return value
}

func TestPairPlainHTTPPathsAnswerAsEtcds(t *testing.T) {
	p := newPair(t)
	for _, path := range []string{"/version", "/health", "/health?serializable=true", "/metrics", "/nothing"} {
		var got [2]string
		for i, s := range p.both() {
			code, value, _ := s.ask(t, "GET", path, "")
			if path == "/metrics" || code == http.StatusNotFound {
				value = nil
			}
			if object, ok := value.(map[string]any); ok && path == "/version" {
				for _, key := range []string{"etcdserver", "etcdcluster"} {
					if v, _ := object[key].(string); strings.Count(v, ".") != 2 {
						t.Errorf("%s: %s is %v", s.name, key, object[key])
					}
					object[key] = "x.y.z"
				}
				delete(object, "storage")
				delete(object, "leeward")
			}
			out, _ := json.Marshal(value)
			got[i] = fmt.Sprintf("%d %s", code, out)
		}
		if got[0] != got[1] {
			t.Errorf("%s\n leeward %s\n etcd    %s", path, got[0], got[1])
		}
	}
	for _, s := range p.both() {
		if code, _, _ := s.ask(t, "GET", "/v3/kv/range", ""); code != http.StatusMethodNotAllowed && code != http.StatusNotImplemented && code != http.StatusNotFound {
			t.Errorf("%s: GET on a gateway path is %d", s.name, code)
		}
	}
}

// As the gateway of etcd 3.5; that of 3.7 ignores what it does not know.
func TestPairTheJSONGatewayRefusesUnknownFieldsAndNames(t *testing.T) {
	p := newPair(t)
	for _, body := range []string{`{"key":"eA==","nonsense":1}`, `{"key":"eA==","sort_order":"SIDEWAYS"}`} {
		if code, value, _ := p.leeward.ask(t, "POST", "/v3/kv/range", body); code != 400 {
			t.Errorf("%s: %d %v", body, code, value)
		}
	}
}
