# A host for this region's Prometheus and Alertmanager. Each region has one, both scrape both regions, and the two
# Alertmanagers are a pair: whichever region is lost, somebody sees it and says it once.

data "aws_region" "here" {}

locals {
  host      = "${var.name}-monitoring"
  zone      = var.network.azs[0]
  address   = cidrhost(var.network.private_subnets[local.zone].cidr, 5)
  own_cidrs = [for subnet in var.network.private_subnets : subnet.cidr]
  ami_id    = var.ami_id != null ? var.ami_id : data.aws_ami.debian[0].id
}

data "aws_ami" "debian" {
  count = var.ami_id == null ? 1 : 0

  owners      = ["136693071363"] # the Debian project
  most_recent = true

  filter {
    name   = "name"
    values = ["debian-12-amd64-*"]
  }
}

resource "aws_ebs_volume" "series" {
  availability_zone = local.zone
  size              = var.volume_gib
  type              = "gp3"
  encrypted         = true
  kms_key_id        = var.kms_key_arn

  tags = { Name = "${local.host}-series" }
}

resource "aws_instance" "host" {
  ami                     = local.ami_id
  instance_type           = var.instance_type
  subnet_id               = var.network.private_subnets[local.zone].id
  private_ip              = local.address
  vpc_security_group_ids  = [aws_security_group.host.id]
  iam_instance_profile    = aws_iam_instance_profile.host.name
  disable_api_termination = var.deletion_protection
  ebs_optimized           = true
  monitoring              = true

  root_block_device {
    volume_size = 20
    volume_type = "gp3"
    encrypted   = true
    kms_key_id  = var.kms_key_arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  tags = { Name = local.host }

  # A newer image does not replace a host that is there.
  lifecycle {
    ignore_changes = [ami]
  }
}

resource "aws_volume_attachment" "series" {
  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.series.id
  instance_id                    = aws_instance.host.id
  stop_instance_before_detaching = true
}
