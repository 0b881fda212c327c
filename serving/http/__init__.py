"""HTTP/1.1: connections, requests, routing, authentication, CORS, request log and tracing. Imports no other folder."""
