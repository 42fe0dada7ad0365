// Go's net/http; see programs.sh.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

const base = "https://ok.test"

func check(feature string, request *http.Request, good func(*http.Response, []byte) bool) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(feature, "bad")
		fmt.Fprintln(os.Stderr, feature, err)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || !good(response, body) {
		fmt.Println(feature, "bad")
		fmt.Fprintln(os.Stderr, feature, response.Status, len(body), err)
		return
	}
	fmt.Println(feature, "ok")
}

func get(path string) *http.Request {
	request, err := http.NewRequest("GET", base+path, nil)
	if err != nil {
		panic(err)
	}
	return request
}

func main() {
	check("get", get("/status/200?get-go"), func(response *http.Response, body []byte) bool {
		return response.ProtoMajor == 2 && string(body) == "as asked\n"
	})
	large := bytes.Repeat([]byte("x"), 1<<20)
	// A reader whose length nobody knows: chunks in HTTP/1.1, frames in HTTP/2.
	post, err := http.NewRequest("POST", base+"/echo?post-go", io.MultiReader(bytes.NewReader(large)))
	if err != nil {
		panic(err)
	}
	check("post", post, func(_ *http.Response, body []byte) bool { return bytes.Equal(body, large) })
	check("down", get("/bytes/8000000?down-go"), func(_ *http.Response, body []byte) bool { return len(body) == 8000000 })
	check("sse", get("/stream/20?sse-go"), func(_ *http.Response, body []byte) bool {
		return strings.HasSuffix(string(body), "data: 19\n\n")
	})
	check("denied", get("/denied?denied-go"), func(response *http.Response, _ []byte) bool {
		return response.StatusCode == 403 && response.Header.Get("X-Httpjail") == "deny"
	})
}
