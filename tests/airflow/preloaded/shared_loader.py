"""Lets all boto3 clients of a process, and of those forked from it, share botocore's description of S3.

Each session would parse megabytes of JSON again, which takes longer than most requests that tests send.
"""

from functools import cache

import boto3
from botocore import session

session.create_loader = cache(session.create_loader)
# The first client reads all of it; without a login, it would look for one in the network.
boto3.session.Session("nobody", "nothing", region_name="us-east-1").client("s3")
