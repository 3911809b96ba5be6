-- One row a request, in the protocol of `mlflow models serve`.
function init(args)
  wrk.method = "POST"
  wrk.body = '{"dataframe_split": {"columns": ["ret_mean", "ret_std", "n"], "data": [[0.0, 3e-5, 49]]}}'
  wrk.headers["Content-Type"] = "application/json"
end
