"""A network, a bucket and a queue, each settable from outside, to be changed, broken, mended and removed."""

import json

import pulumi
import pulumi_aws as aws

settings = pulumi.Config()
region = aws.Provider(
    "aws",
    region="us-east-1",
    default_tags={"tags": {"owner": settings.get("owner") or "rehearsal", "data-class": "internal"}},
)
options = pulumi.ResourceOptions(provider=region)

vpc = aws.ec2.Vpc("vpc", cidr_block=settings.get("cidr") or "10.1.0.0/16", opts=options)
subnet = aws.ec2.Subnet(
    "subnet", vpc_id=vpc.id, cidr_block=vpc.cidr_block.apply(lambda block: block.replace("/16", "/24")), opts=options
)
bucket = aws.s3.Bucket("bucket", opts=options)
aws.s3.BucketVersioning(
    "versioning",
    bucket=bucket.id,
    versioning_configuration={"status": settings.get("versioning") or "Enabled"},
    opts=options,
)
queue = aws.sqs.Queue("queue", message_retention_seconds=settings.get_int("retention") or 3600, opts=options)
aws.sqs.QueuePolicy(
    "queue-policy",
    queue_url=queue.url,
    policy=queue.arn.apply(
        lambda arn: json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "sqs:*",
                        "Resource": arn,
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    }
                ],
            }
        )
    ),
    opts=options,
)
if settings.get_bool("unreachable"):
    # Its network does not exist, so it fails after what it needs not wait for was made.
    aws.ec2.Subnet("lost", vpc_id="vpc-00000000000000000", cidr_block="10.1.9.0/24", opts=options)
if settings.get("adopted"):
    aws.s3.Bucket("adopted", bucket=settings.require("adopted"), opts=options)

pulumi.export("vpc_id", vpc.id)
pulumi.export("subnet_id", subnet.id)
pulumi.export("bucket", bucket.bucket)
pulumi.export("queue_url", queue.url)
