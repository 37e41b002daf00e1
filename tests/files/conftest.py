from files import sink_cases

case = sink_cases.case
if sink_cases.IS_CLOUD_HERE:
    bucket, object_server = sink_cases.bucket, sink_cases.object_server
