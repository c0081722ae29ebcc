"""The AWS services that have an interface endpoint, by the end of the endpoint service's name.

    near("ecr")                              # ("ecr.api", "ecr.dkr", "ecr-public.api")

Only services whose name is `com.amazonaws.REGION.` and that end: the others (`aws.api.…`, `aws.sagemaker.…`, services
without a region) are not what modules/network.py asks for. Which of them a region has, the account knows.

Source: the AWS CDK's `InterfaceVpcEndpointAwsService` (aws-cdk-lib/aws-ec2/lib/vpc-endpoint.ts), which follows `aws ec2
describe-vpc-endpoint-services`; a few more from "AWS services that integrate with AWS PrivateLink" (VPC guide); both
read 2026-11. A name that is missing belongs here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

_NAMES = """
access-analyzer account acm acm-fips acm-pca acm-pca-fips airflow.api airflow.api-fips airflow.env airflow.env-fips
airflow.ops analytics-omics apigateway app-integrations appconfig appconfig-fips appconfigdata appconfigdata-fips
application-autoscaling application-signals applicationinsights appmesh appmesh-envoy-management apprunner
apprunner.requests appstream.api appstream.streaming appsync-api apptest aps aps-workspaces arsenal-discovery athena
auditmanager autoscaling autoscaling-plans awsconnector b2bi backup backup-gateway batch bcm-pricing-calculator
bedrock bedrock-agent bedrock-agent-runtime bedrock-agentcore bedrock-agentcore.gateway bedrock-data-automation
bedrock-data-automation-fips bedrock-data-automation-runtime bedrock-data-automation-runtime-fips bedrock-fips
bedrock-runtime bedrock-runtime-fips billing billingconductor braket cases cassandra cassandra-fips ce cleanrooms
cleanrooms-ml cloudcontrolapi cloudcontrolapi-fips clouddirectory cloudformation cloudhsmv2 cloudtrail
codeartifact.api codeartifact.repositories codebuild codebuild-fips codecatalyst.git codecatalyst.packages codecommit
codecommit-fips codeconnections.api codedeploy codedeploy-commands-secure codeguru-profiler codeguru-reviewer
codepipeline codestar-connections.api codewhisperer cognito-identity cognito-identity-fips cognito-idp
cognito-idp-fips comprehend comprehendmedical compute-optimizer config connect-campaigns console control-storage-omics
controlcatalog cost-optimization-hub data-servicediscovery data-servicediscovery-fips databrew dataexchange datasync
datazone deadline.management deadline.scheduling deviceadvisor.iot devops-guru dicom-medical-imaging discovery dms
dms-fips drs ds ds-data dsql dynamodb dynamodb-fips dynamodb-streams ebs ec2 ec2messages ecr-public.api ecr.api
ecr.dkr ecs ecs-agent ecs-telemetry eks eks-auth elastic-inference.runtime elasticache elasticache-fips
elasticbeanstalk elasticbeanstalk-health elasticfilesystem elasticfilesystem-fips elasticloadbalancing
elasticmapreduce email email-fips email-smtp emr-containers emr-serverless emr-serverless-services.livy
emr-serverless.dashboard emrwal.prod entityresolution events evidently evidently-dataplane execute-api finspace
finspace-api fis forecast forecast-fips forecastquery forecastquery-fips frauddetector fsx fsx-fips geo.geofencing
geo.maps geo.metadata geo.places geo.routes geo.tracking git-codecommit git-codecommit-fips glue glue.dashboard
grafana grafana-workspace greengrass groundstation guardduty guardduty-data guardduty-data-fips guardduty-fips
healthlake identitystore imagebuilder inspector-scan inspector2 internetmonitor internetmonitor-fips invoicing
iot.credentials iot.data iot.fleethub.api iotfleetwise iotroborunner iotsitewise.api iotsitewise.data iottwinmaker.api
iottwinmaker.data iotwireless.api kafka kafka-fips kafkaconnect kendra kinesis-firehose kinesis-streams
kinesis-streams-fips kms kms-fips lakeformation lambda launchwizard license-manager license-manager-fips
license-manager-linux-subscriptions license-manager-linux-subscriptions-fips license-manager-user-subscriptions logs
lookoutequipment lookoutmetrics lookoutvision lorawan.cups lorawan.lns m2 macie2 mail-manager mail-manager-fips
managedblockchain-query managedblockchain.bitcoin.mainnet managedblockchain.bitcoin.testnet mediaconnect
medical-imaging memory-db memorydb-fips mgn migrationhub-orchestrator migrationhub-strategy models-v2-lex monitoring
mq neptune-graph neptune-graph-data neptune-graph-fips network-firewall network-firewall-fips networkflowmonitor
networkflowmonitorreports networkmonitor nimble observabilityadmin organizations organizations-fips outposts panorama
payment-cryptography.controlplane payment-cryptography.dataplane pca-connector-ad pca-connector-scep pcs pcs-fips
personalize personalize-events personalize-runtime pi pi-fips pinpoint pinpoint-sms-voice-v2 pipes pipes-data
pipes-fips polly pricing.api private-networks profile proton q qapps qldb.session quicksight-website ram rbin rds
rds-data redshift redshift-data redshift-data-fips redshift-fips redshift-serverless redshift-serverless-fips
refactor-spaces rekognition rekognition-fips repostspace resource-groups resource-groups-fips robomaker rolesanywhere
rum rum-dataplane runtime-medical-imaging runtime-v2-lex s3 s3-outposts s3tables s3vectors
sagemaker-data-science-assistant sagemaker-geospatial sagemaker.api sagemaker.api-fips sagemaker.featurestore-runtime
sagemaker.metrics sagemaker.runtime sagemaker.runtime-fips schemas scn secretsmanager securityhub securitylake
securitylake-fips serverlessrepo service.user-subscriptions servicecatalog servicecatalog-appregistry servicediscovery
servicediscovery-fips shield shield-fips signin simspaceweaver sms sms-fips snow-device-management sns
social-messaging sqs sqs-fips ssm ssm-contacts ssm-fips ssm-incidents ssm-quicksetup ssmmessages states storage-omics
storagegateway streaming-rekognition streaming-rekognition-fips sts sts-fips swf swf-fips sync-states synthetics
synthetics-fips tagging tags-omics tax textract textract-fips thinclient.api timestream-influxdb
timestream-influxdb-fips tnb transcribe transcribestreaming transfer transfer.server translate trustedadvisor
verifiedpermissions voiceid vpc-lattice wafv2 wafv2-fips wellarchitected wisdom workflows-omics workmail workspaces
workspaces-web workspaces-web-fips xray
"""

ENDPOINT_SERVICES = frozenset(_NAMES.split())
"""What may stand in `network.interface_endpoints`; and `s3`, which is reached through a gateway endpoint instead."""

_OTHER_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cloudwatch": ("monitoring", "logs"),
        "efs": ("elasticfilesystem",),
        "elb": ("elasticloadbalancing",),
        "eventbridge": ("events",),
        "msk": ("kafka",),
        "prometheus": ("aps-workspaces", "aps"),
        "stepfunctions": ("states",),
    }
)
"""Services whose endpoint is not called as they are."""


def near(name: str) -> tuple[str, ...]:
    """At most three services that may have been meant by `name`, the likeliest first; s3 is none of them."""
    meant = name.lower()
    known = sorted(ENDPOINT_SERVICES - {"s3"})
    if meant in known:
        return (meant,)
    if meant in _OTHER_NAMES:
        return _OTHER_NAMES[meant]
    # A whole name such as com.amazonaws.us-east-1.ecr.api.
    ends = [one for one in known if meant.endswith(f".{one}")]
    if ends:
        return (max(ends, key=len),)
    longer = [one for divider in ".-" for one in known if one.startswith(f"{meant}{divider}")]
    alike = difflib.get_close_matches(meant, known, n=3, cutoff=0.75)
    return tuple(dict.fromkeys((*longer, *alike)))[:3]
