"""Makes all clients of boto3 in a process, and in those forked from it, share what botocore has read of S3.

Otherwise, each session reads megabytes of JSON anew, which takes longer than most of what tests ask S3.
"""

from functools import cache

import boto3
from botocore import session

session.create_loader = cache(session.create_loader)
# The first client reads all of it; without a login, it would look for one in the network.
boto3.session.Session("nobody", "nothing", region_name="us-east-1").client("s3")
