-- One row a request, as BODY in tools.py.
wrk.method = "POST"
wrk.body = '{"rows": [{"ret_mean": 0.0, "ret_std": 3e-5, "n": 49, "span_s": 10}]}'
wrk.headers["Content-Type"] = "application/json"
