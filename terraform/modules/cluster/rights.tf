# What a member may do in AWS: be reached by Session Manager, and what the caller adds (secrets, backups).

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# What the agent of Session Manager needs, and nothing of parameters, documents or buckets. These calls know no
# resource; the agent acts for its own instance only.
data "aws_iam_policy_document" "session" {
  statement {
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [data.aws_region.here.name]
    }
  }
}

resource "aws_iam_role" "member" {
  name               = "${var.name}-member"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "session" {
  name   = "session"
  role   = aws_iam_role.member.id
  policy = data.aws_iam_policy_document.session.json
}

resource "aws_iam_role_policy" "further" {
  for_each = var.member_policies

  name   = each.key
  role   = aws_iam_role.member.id
  policy = each.value
}

resource "aws_iam_instance_profile" "member" {
  name = "${var.name}-member"
  role = aws_iam_role.member.name
}
