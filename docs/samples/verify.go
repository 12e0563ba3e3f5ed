// A receiver that believes only what is signed. It needs Go and nothing else.
//
// WEBHOOK_SECRETS="whsec_…" PORT=9000 go run verify.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

var secrets = strings.Fields(os.Getenv("WEBHOOK_SECRETS")) // two of them while one is being exchanged

const tolerance = 5 * time.Minute

// isGenuine checks `webhook-signature`, which covers the event's id, the time and the body.
func isGenuine(headers http.Header, body []byte) bool {
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	signed := append([]byte(id+"."+timestamp+"."), body...)
	var expected []string
	for _, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			log.Fatal("WEBHOOK_SECRETS holds something that is no secret: ", err)
		}
		expected = append(expected, "v1,"+base64.StdEncoding.EncodeToString(sign(key, signed)))
	}
	return holdsOne(strings.Fields(headers.Get("webhook-signature")), expected)
}

// isGenuineByHub checks `X-Hub-Signature-256`, which covers the body alone.
func isGenuineByHub(headers http.Header, body []byte) bool {
	var expected []string
	for _, secret := range secrets {
		expected = append(expected, "sha256="+hex.EncodeToString(sign([]byte(secret), body)))
	}
	return holdsOne([]string{headers.Get("X-Hub-Signature-256")}, expected)
}

func sign(key, signed []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(signed)
	return mac.Sum(nil)
}

// Not `==`: that ends at the first letter that differs, and so tells how much was right.
func holdsOne(sent, expected []string) bool {
	for _, one := range sent {
		for _, other := range expected {
			if hmac.Equal([]byte(one), []byte(other)) {
				return true
			}
		}
	}
	return false
}

func receive(response http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body) // the bytes as they came: read them as JSON after the check
	check := isGenuine
	if request.URL.Path == "/hub" {
		check = isGenuineByHub
	}
	if err != nil || !check(request.Header, body) {
		response.WriteHeader(http.StatusUnauthorized)
		return
	}
	// Genuine: keep the body under its webhook-id, answer, and work on it afterwards. It may come again.
	response.WriteHeader(http.StatusNoContent)
}

func main() {
	http.HandleFunc("/", receive)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
